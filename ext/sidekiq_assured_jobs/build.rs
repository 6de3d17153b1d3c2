//! Gives a plain `cargo build` the link arguments of the Ruby that it is built for.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    rb_sys_env::activate()?;
    Ok(())
}
