//! Data in memory behind `DataSource`, for tests.
