"""A participant's own data, read from files it names; nothing of it leaves the machine."""
