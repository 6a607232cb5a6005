"""Our programs with upstream trollmoves 0.19.0, and with posttroll."""
