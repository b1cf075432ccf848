//! Words typed become a Command.
