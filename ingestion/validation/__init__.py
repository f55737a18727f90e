"""Whether tables and catalogue sources are as expected: by rows, as sets, before they are loaded."""
