"""What the performance goals are measured with, peers side by side."""
