"""What is wrong with the installation, measured, judged and shown: for people, for a page and for Prometheus."""
