"""Events that arrived: checked against the contract, told from duplicates, completed from the catalogue, stored."""
