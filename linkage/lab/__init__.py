"""The laboratory: synthetic populations and measurements. It may open every wing; nothing else imports it."""
