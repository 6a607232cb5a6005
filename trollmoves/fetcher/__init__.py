"""Fetching files that messages name, from filesystems that are named too: for pytroll-fetcher and s3downloader.

`places.py` says what a message means and whether that is allowed, `opening.py` opens it, `receiving.py` writes it.
"""
