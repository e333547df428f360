"""Tables: which files a snapshot needs, and copies of them that can be read where there is no catalog."""
