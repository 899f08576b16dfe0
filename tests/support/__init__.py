"""What tests share: a harness for servers, clients, and apps to serve."""
