"""The groups of settings; :mod:`feature_repo.settings` puts them together and reads them."""
