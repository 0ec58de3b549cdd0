"""Detection without a server: files and pipes into the engine, findings and scores out. No network, no database."""
