"""What may be done with the account's keys, and how it is kept from going wrong."""
