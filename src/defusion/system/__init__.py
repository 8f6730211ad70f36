"""What the system gives: files that appear whole, the user's cache folder, memory and cores."""
