//! Published vectors, and answers computed by independent programs (the scripts
//! in `tests/data`), where they need a view of the inside.

mod esp;
mod exchange;
mod message;
mod prf;
mod schedule;

use serde_json::Value;

use crate::suite::PrfAlg;

/// Octets written in hexadecimal, with any white space.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<char> = digits.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()).collect()
}

/// The octets of a member of a JSON object.
fn octets(case: &Value, name: &str) -> Vec<u8> {
    hex(case[name].as_str().unwrap_or_else(|| panic!("no {name} in the vector")))
}

fn prf_alg(name: &Value) -> PrfAlg {
    match name.as_str().unwrap() {
        "sha256" => PrfAlg::HmacSha256,
        "sha384" => PrfAlg::HmacSha384,
        "sha512" => PrfAlg::HmacSha512,
        other => panic!("unknown PRF {other}"),
    }
}

fn cases(json: &str) -> Vec<Value> {
    serde_json::from_str(json).unwrap()
}
