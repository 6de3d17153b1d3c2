//! Strings across the border. Payloads are opaque bytes on both sides.

use magnus::{RString, Ruby, prelude::*};

/// A copy of the bytes of a Ruby String.
pub fn bytes(string: RString) -> Vec<u8> {
    // SAFETY: copied before Ruby can run again and change or free the String.
    unsafe { string.as_slice() }.to_vec()
}

/// A Ruby String with these bytes, in UTF-8 as redis-rb returns them.
pub fn text(ruby: &Ruby, bytes: &[u8]) -> RString {
    let string = ruby.str_from_slice(bytes);
    // The index of an encoding never changes; a String of our own cannot be frozen yet.
    let _ = string.enc_associate(ruby.utf8_encoding());
    string
}
