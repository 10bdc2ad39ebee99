"""Amazon Bedrock: Converse and ConverseStream, with the signatures and the binary event stream of AWS."""
