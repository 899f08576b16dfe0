"""What is read of TLS before OpenSSL has it."""
