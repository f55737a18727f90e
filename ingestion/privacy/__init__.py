"""What is held of a customer: exporting it, and erasing it everywhere."""
