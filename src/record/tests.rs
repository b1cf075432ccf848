//! Pure: what the record layer promises.
