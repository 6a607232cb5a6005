"""What dispatcher, move_it, fetcher and s3downloader share: hear a message, keep its files in the journal until each is where it
shall be, host by host, and report what became of it."""
