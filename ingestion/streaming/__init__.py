"""What runs only inside the stream: how events come from Kafka, and what a batch of them does to both stores."""
