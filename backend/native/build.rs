//! Link options that cargo has no key for.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Threads that once ran our code call destructors of thread-local data when they end. The runtime may have closed
    // the library by then, so it asks to stay in memory.
    let elf = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux" || os.ends_with("bsd"));
    if elf {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
