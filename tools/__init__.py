"""What developers run from the root of the repository and users of the package never do."""
