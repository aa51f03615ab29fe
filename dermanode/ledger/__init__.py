"""The durable record of what came, what was made of it and where it went; and the spool, where its files lie."""
