"""What the commands share: exit statuses, flags, flagfiles."""
