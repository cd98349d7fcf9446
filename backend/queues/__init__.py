"""The queue runtime: it reads, handles and acknowledges messages, and knows no queue of the product."""
