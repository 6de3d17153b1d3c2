//! Empty. The build script is what this crate is for.
