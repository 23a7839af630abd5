"""`check_transform`: the laws that every transform keeps."""
