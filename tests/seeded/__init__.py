"""Known bugs of operators that can be brought back, to see that the tests find them."""
