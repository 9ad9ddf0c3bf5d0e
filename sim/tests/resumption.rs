//! Suspend and resume.
use ike::event::How;
use sim::{Pair, Scene};
#[test]
fn first() {
    let mut pair = Pair::new(Scene::default());
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
    pair.suspend().unwrap();
    pair.resume().unwrap();
    println!("{:#?}", pair.client_events().collect::<Vec<_>>());
    pair.assert_up_by(How::Resumed);
    pair.down().unwrap();
    pair.assert_apart();
}
