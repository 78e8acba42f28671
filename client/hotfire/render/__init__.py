"""Reports for people and for programs: terminal, Markdown, JSON."""
