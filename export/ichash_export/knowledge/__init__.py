"""External knowledge for methods that take it: words and class names as vectors."""
