//! Reads one header of the C library through bindgen, as the build reads Ruby's. It takes a libclang that loads, and
//! headers that it finds: the C library's, and those of the compiler itself, which they include.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // No such file, so that cargo asks each time: a libclang that was there a minute ago may be gone.
    println!("cargo:rerun-if-changed=ask-each-time");
    let bindings = bindgen::builder()
        .header_contents("probe.h", "#include <stdlib.h>\n")
        .allowlist_function("abs")
        .generate()?;
    if bindings.to_string().contains("fn abs") {
        Ok(())
    } else {
        Err("libclang found no abs() in stdlib.h".into())
    }
}
