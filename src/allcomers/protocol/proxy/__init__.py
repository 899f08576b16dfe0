"""What a proxy in front says of its clients: PROXY headers, Forwarded and X-Forwarded-* fields, addresses."""
