//! Signatures of webhooks, made without the library by which the adapters check them.

use afk_core::digest::Digest;

/// HMAC by SHA-256, in hex.
pub(crate) fn hmac(key: &[u8], text: &[u8]) -> String {
    let bytes = |digest: &Digest| -> Vec<u8> {
        let hex = digest.as_str().as_bytes().chunks(2);
        let byte = |pair: &[u8]| {
            let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default();
            pair.iter().fold(0, |byte, one| byte * 16 + digit(*one)) as u8
        };
        hex.map(byte).collect()
    };
    let mut block = if key.len() > 64 { bytes(&Digest::of(key)) } else { key.to_vec() };
    block.resize(64, 0);
    let padded = |pad: u8, text: &[u8]| {
        let block: Vec<u8> = block.iter().map(|byte| byte ^ pad).collect();
        Digest::of([&block, text].concat())
    };
    let inner = padded(0x36, text);
    padded(0x5c, &bytes(&inner)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test cases 2 and 6 of RFC 4231.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let check = |key: &[u8], text: &str, expected: &str| {
            assert_eq!(hmac(key, text.as_bytes()), expected, "{text}");
        };
        check(
            b"Jefe",
            "what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(
            &[0xaa; 131],
            "Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }
}
