"""What tests share: real programs, real servers, bad networks, a hand-set clock, patience with a limit."""
