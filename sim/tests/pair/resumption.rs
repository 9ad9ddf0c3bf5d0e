//! Sessions that sleep and come back (RFC 5723).

use std::time::Duration;

use ike::config::{ResumeAuth, ResumeTrigger};
use ike::event::{Command, Event, FallBack, Gone, How, SessionEnd, TicketFault};
use ike::fault::{Failure, Refusal};
use ike::status::Stage;
use ike::wire::ExchangeType;
use sim::plane::Outgoing;
use sim::{Arrival, Pair};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn fell_back(pair: &Pair) -> Vec<FallBack> {
    let why = |event: &Event| match event {
        Event::FellBack { why, .. } => Some(*why),
        _ => None,
    };
    pair.client_events().filter_map(why).collect()
}

fn session_ends(pair: &Pair) -> Vec<SessionEnd> {
    let why = |event: &Event| match event {
        Event::SessionLost { why, .. } => Some(*why),
        _ => None,
    };
    pair.client_events().filter_map(why).collect()
}

pub(crate) fn refused_tickets(pair: &Pair) -> Vec<TicketFault> {
    let why = |event: &Event| match event {
        Event::TicketRefused { why, .. } => Some(*why),
        _ => None,
    };
    pair.gateway_events().filter_map(why).collect()
}

#[test]
fn a_suspend_sends_nothing() {
    let mut pair = Pair::joined(|_| {});
    pair.suspend().unwrap();
    pair.world.run_for(SECOND);
    assert_eq!(pair.exchanges(), []);
    assert_eq!(pair.status().stage, Stage::Suspended);
    assert_eq!(pair.status().ticket.unwrap().len, 161);
    assert!(pair.world.node(pair.client).plane.children().is_empty());
    assert_eq!(pair.served().len(), 1);
    assert!(pair.client_events().any(|event| matches!(event, Event::Suspended { .. })));
}

#[test]
fn a_resume_takes_two_round_trips() {
    let mut pair = Pair::suspended(|_| {});
    pair.resume().unwrap();
    let (resume, auth) = (ExchangeType::SESSION_RESUME, ExchangeType::AUTH);
    assert_eq!(pair.exchanges(), [(resume, false), (resume, true), (auth, false), (auth, true)]);
    pair.assert_up_by(How::Resumed);
    assert_eq!(pair.set_up().round_trips, 2);
    assert_eq!((pair.client_counters().resumed, pair.gateway_counters().resumed), (1, 1));
}

#[test]
fn up_resumes_a_suspended_connection() {
    let mut pair = Pair::suspended(|_| {});
    pair.up().unwrap();
    pair.assert_up_by(How::Resumed);
}

#[test]
fn the_gateway_drops_the_old_sa_without_a_word_once_the_new_one_is_authentic() {
    let mut pair = Pair::joined(|_| {});
    let old = pair.served()[0].sa.as_ref().unwrap().id;
    pair.suspend().unwrap();
    pair.forget_past();
    pair.resume().unwrap();
    pair.assert_joined();
    let gone: Vec<_> = pair
        .gateway_events()
        .filter_map(|event| match event {
            Event::Down { sa, why, .. } => Some((*sa, *why)),
            _ => None,
        })
        .collect();
    assert_eq!(gone, [(old, Gone::Replaced)]);
    assert_eq!(pair.exchanges().len(), 4);
}

#[test]
fn a_session_is_resumed_again_and_again_each_time_with_a_new_ticket() {
    let mut pair = Pair::joined(|_| {});
    for _ in 0..10 {
        pair.suspend().unwrap();
        pair.world.run_for(SECOND);
        pair.resume().unwrap();
        pair.assert_up_by(How::Resumed);
    }
    assert_eq!(pair.gateway_counters().tickets_issued, 11);
    assert_eq!(pair.gateway_counters().resumed, 10);
    pair.down().unwrap();
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
}

#[test]
fn a_client_resumes_from_another_address() {
    let mut pair = Pair::suspended(|_| {});
    let client = pair.client;
    pair.world.node_mut(client).address = "192.0.2.77".parse().unwrap();
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    assert!(pair.served()[0].sa.as_ref().unwrap().remote.ip() == pair.world.node(client).address);
}

#[test]
fn a_gateway_that_serves_one_address_takes_tickets_from_there_only() {
    let mut pair = Pair::suspended(|scene| scene.gateway.remote = Some(sim::pair::CLIENT));
    let client = pair.client;
    pair.world.node_mut(client).address = "192.0.2.77".parse().unwrap();
    assert_eq!(pair.resume(), Err(Refusal::Failed(Failure::Unanswered)));
    assert_eq!(refused_tickets(&pair), [TicketFault::NotAllowed]);
    pair.world.node_mut(client).address = sim::pair::CLIENT;
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
}

#[test]
fn a_gateway_that_falls_silent_after_the_first_exchange_is_tried_in_full() {
    let mut pair = Pair::suspended(|_| {});
    let mut answers = 0;
    let gateway = pair.gateway;
    pair.world.meddler = Some(Box::new(move |sent| {
        answers += usize::from(sent.by == gateway);
        let is_lost = sent.by == gateway && (2..=5).contains(&answers);
        if is_lost { Vec::new() } else { sim::meddle::untouched(sent) }
    }));
    pair.resume().unwrap();
    assert_eq!(fell_back(&pair), [FallBack::Silence]);
    assert!(pair.set_up().took < 10 * SECOND);
    pair.assert_up_by(How::Full);
}

#[test]
fn a_session_that_is_ended_cannot_be_resumed() {
    let mut pair = Pair::suspended(|_| {});
    pair.down().unwrap();
    assert_eq!(session_ends(&pair), [SessionEnd::Command]);
    assert_eq!(pair.resume(), Err(Refusal::NotSuspended));
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
}

#[test]
fn without_a_ticket_there_is_no_suspend() {
    let mut pair = Pair::joined(|scene| scene.gateway.resumption.enabled = false);
    assert_eq!(pair.suspend(), Err(Refusal::NoTicket));
    pair.assert_joined();
    let mut pair = Pair::joined(|scene| scene.client.resumption.enabled = false);
    assert_eq!(pair.suspend(), Err(Refusal::NoTicket));
    assert_eq!(pair.gateway_counters().tickets_issued, 0);
}

#[test]
fn a_refusal_of_a_ticket_does_not_alter_the_exchange() {
    let mut pair = Pair::with(|scene| scene.gateway.resumption.enabled = false);
    pair.up().unwrap();
    pair.assert_joined();
    let denied = |event: &Event| matches!(event, Event::TicketDenied { later: false, .. });
    assert!(pair.client_events().any(denied));
}

#[test]
fn a_ticket_lives_as_long_as_the_gateway_says() {
    let mut pair = Pair::suspended(|scene| scene.gateway.resumption.lifetime = HOUR);
    pair.world.run_for(HOUR - SECOND);
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    pair.suspend().unwrap();
    pair.forget_past();
    pair.world.run_for(HOUR);
    assert_eq!(session_ends(&pair), [SessionEnd::Expired]);
    assert_eq!(pair.status().stage, Stage::Down);
    assert_eq!(pair.resume(), Err(Refusal::NotSuspended));
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
}

#[test]
fn a_gateway_whose_clock_is_ahead_refuses_an_expired_ticket() {
    let mut pair = Pair::suspended(|scene| scene.gateway.resumption.lifetime = HOUR);
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).clock.jump_forward(2 * HOUR);
    pair.resume().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(refused_tickets(&pair), [TicketFault::Expired]);
    assert_eq!(fell_back(&pair), [FallBack::Nack]);
}

#[test]
fn a_clock_that_jumps_over_the_expiry_ends_the_session() {
    let mut pair = Pair::suspended(|scene| scene.gateway.resumption.lifetime = HOUR);
    let client = pair.client;
    pair.world.node_mut(client).clock.jump_forward(2 * HOUR);
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(session_ends(&pair), [SessionEnd::Expired]);
    assert_eq!(fell_back(&pair), []);
}

#[test]
fn a_clock_that_is_set_back_neither_wakes_nor_breaks_anything() {
    let mut pair = Pair::suspended(|scene| scene.gateway.resumption.lifetime = HOUR);
    for id in [pair.client, pair.gateway] {
        pair.world.node_mut(id).clock.jump_back(1000 * HOUR);
    }
    pair.world.run_for(2 * HOUR);
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
}

#[test]
fn a_living_sa_gets_its_next_ticket_in_half_the_lifetime_of_the_last() {
    let mut pair = Pair::joined(|scene| scene.gateway.resumption.lifetime = HOUR);
    pair.world.run_for(HOUR / 2 - SECOND);
    assert_eq!(pair.exchanges().len(), 0);
    pair.world.run_for(2 * SECOND);
    let informational = ExchangeType::INFORMATIONAL;
    assert_eq!(pair.exchanges(), [(informational, false), (informational, true)]);
    let granted = |event: &Event| matches!(event, Event::TicketGranted { .. });
    assert_eq!(pair.client_events().filter(|event| granted(event)).count(), 1);
    pair.world.run_for(10 * HOUR);
    pair.suspend().unwrap();
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
}

#[test]
fn tickets_do_not_live_longer_than_the_authentication_they_rest_on() {
    let mut pair = Pair::joined(|scene| {
        scene.gateway.resumption.lifetime = HOUR;
        scene.gateway.resumption.max_age = 3 * HOUR / 2;
    });
    pair.suspend().unwrap();
    pair.world.run_for(HOUR - SECOND);
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    pair.suspend().unwrap();
    let left = pair.status().ticket.unwrap().expires;
    let now = pair.world.node(pair.client).clock.at(pair.world.now()).wall;
    let left = left.duration_since(now).unwrap();
    assert!(left <= HOUR / 2 + SECOND && left > HOUR / 3, "{left:?}");
    pair.forget_past();
    pair.world.run_for(HOUR);
    assert_eq!(session_ends(&pair), [SessionEnd::Expired]);
}

#[test]
fn a_living_sa_near_its_greatest_age_does_not_pester_the_gateway() {
    let mut pair = Pair::joined(|scene| {
        scene.gateway.resumption.lifetime = HOUR;
        scene.gateway.resumption.max_age = 2 * HOUR;
    });
    pair.world.run_for(100 * HOUR);
    assert!(pair.exchanges().len() < 40, "{}", pair.exchanges().len());
    assert_eq!(pair.suspend(), Err(Refusal::NoTicket));
    pair.assert_joined();
}

#[test]
fn a_ticket_outlives_one_rotation_of_the_key_and_not_two() {
    let day = 24 * HOUR;
    let mut pair = Pair::suspended(|scene| {
        scene.gateway.rotation = HOUR;
        scene.gateway.resumption.lifetime = day;
    });
    pair.world.run_for(HOUR + SECOND);
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    pair.suspend().unwrap();
    pair.world.run_for(2 * HOUR);
    pair.resume().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(refused_tickets(&pair), [TicketFault::UnknownKey]);
}

#[test]
fn voided_tickets_lead_to_a_full_exchange_at_once() {
    let mut pair = Pair::suspended(|_| {});
    let now = pair.gateway_now();
    pair.gateway_endpoint().void_tickets(now);
    pair.resume().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(fell_back(&pair), [FallBack::Nack]);
    assert_eq!(session_ends(&pair), [SessionEnd::Replaced]);
    assert_eq!(pair.set_up().round_trips, 3);
    assert_eq!(pair.set_up().took, Duration::from_millis(60));
}

#[test]
fn a_gateway_that_was_restarted_knows_no_ticket() {
    let mut pair = Pair::suspended(|_| {});
    pair.restart_gateway();
    pair.resume().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(refused_tickets(&pair), [TicketFault::UnknownKey]);
}

/// What a gateway makes of a ticket of its own after a change of its configuration.
fn refused_after(change: impl FnOnce(&mut sim::Profile)) -> Vec<TicketFault> {
    let mut pair = Pair::suspended(|scene| {
        scene.client.ike = vec!["aes256gcm16-prfsha384-x25519", "aes128gcm16-prfsha256-x25519"];
    });
    pair.world.run_for(HOUR);
    change(&mut pair.scene().gateway);
    pair.reconfigure_gateway();
    let _ = pair.resume();
    refused_tickets(&pair)
}

#[test]
fn a_ticket_allows_only_what_the_configuration_still_allows() {
    assert_eq!(refused_after(|_| {}), []);
    let not_allowed = [TicketFault::NotAllowed];
    let other_suite = |gateway: &mut sim::Profile| {
        gateway.ike = vec!["aes128gcm16-prfsha256-x25519"];
    };
    assert_eq!(refused_after(other_suite), not_allowed);
    assert_eq!(refused_after(|g| g.remote_id = "another.example"), not_allowed);
    assert_eq!(refused_after(|g| g.local_id = "another.example".into()), not_allowed);
    assert_eq!(refused_after(|g| g.resumption.enabled = false), not_allowed);
    assert_eq!(refused_after(|g| g.resumption.max_age = HOUR / 2), not_allowed);
}

#[test]
fn a_session_that_the_gateways_operator_has_ended_is_not_resumed() {
    let mut pair = Pair::suspended(|_| {});
    let gateway = pair.gateway;
    pair.world.command(gateway, Command::Down("clients".into()));
    pair.world.run_for(60 * SECOND);
    pair.resume().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(refused_tickets(&pair), [TicketFault::Used]);
}

#[test]
fn a_session_outlives_a_refusal_that_leads_to_nothing() {
    let mut pair = Pair::suspended(|_| {});
    pair.scene().gateway.secrets = vec![("", "changed")];
    pair.restart_gateway();
    assert_eq!(pair.resume(), Err(Refusal::Failed(Failure::RefusedByPeer)));
    assert_eq!(fell_back(&pair), [FallBack::Nack]);
    assert_eq!(session_ends(&pair), []);
    assert_eq!(pair.status().stage, Stage::Suspended);
}

#[test]
fn an_unanswered_attempt_gives_the_session_back() {
    let mut pair = Pair::suspended(|_| {});
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).offline = true;
    assert_eq!(pair.resume(), Err(Refusal::Failed(Failure::Unanswered)));
    assert_eq!(fell_back(&pair), [FallBack::Silence]);
    assert_eq!(pair.status().stage, Stage::Suspended);
    assert_eq!(pair.outgoing(), Outgoing::Held);
    pair.world.node_mut(gateway).offline = false;
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
}

#[test]
fn a_gateway_that_knows_no_resumption_is_asked_for_a_full_exchange() {
    let mut pair = Pair::suspended(|_| {});
    pair.world.meddler = Some(Box::new(|sent| {
        let after = Duration::from_millis(10);
        let arrival = Arrival { after, datagram: sent.datagram.clone() };
        let is_lost = sent.exchange() == Some(ExchangeType::SESSION_RESUME);
        if is_lost { Vec::new() } else { vec![arrival] }
    }));
    pair.resume().unwrap();
    pair.assert_up_by(How::Full);
    assert_eq!(fell_back(&pair), [FallBack::Silence]);
    assert_eq!(session_ends(&pair), [SessionEnd::Replaced]);
}

#[test]
fn packets_wait_while_a_session_sleeps_and_leave_after_the_resume() {
    let mut pair = Pair::suspended(|_| {});
    assert_eq!(pair.outgoing(), Outgoing::Held);
    pair.world.run_for(60 * SECOND);
    assert_eq!(pair.status().stage, Stage::Suspended);
    let before = pair.world.node(pair.gateway).delivered.len();
    pair.resume().unwrap();
    pair.world.run_for(SECOND);
    assert_eq!(pair.world.node(pair.gateway).delivered.len(), before + 1);
}

#[test]
fn a_packet_brings_a_session_back_if_it_may() {
    let mut pair =
        Pair::suspended(|scene| scene.client.resumption.trigger = ResumeTrigger::OnTraffic);
    assert_eq!(pair.outgoing(), Outgoing::Held);
    pair.world.run_for(SECOND);
    pair.assert_up_by(How::Resumed);
    pair.suspend().unwrap();
    assert_eq!(pair.outgoing(), Outgoing::Held);
    pair.world.run_for(SECOND);
    pair.assert_up_by(How::Resumed);
}

#[test]
fn traffic_does_not_hammer_a_gateway_that_refuses() {
    let mut pair =
        Pair::suspended(|scene| scene.client.resumption.trigger = ResumeTrigger::OnTraffic);
    pair.scene().gateway.secrets = vec![("", "changed")];
    pair.restart_gateway();
    for _ in 0..1200 {
        pair.outgoing();
        pair.world.run_for(SECOND);
    }
    let attempts = |event: &Event| matches!(event, Event::Started { how: How::Resumed, .. });
    let attempts = pair.client_events().filter(|event| attempts(event)).count();
    assert!((4..=6).contains(&attempts), "{attempts} attempts in twenty minutes");
    pair.scene().gateway.secrets = vec![("", "secret")];
    pair.restart_gateway();
    pair.world.run_for(301 * SECOND);
    pair.outgoing();
    pair.world.run_for(SECOND);
    pair.assert_up_by(How::Full);
}

#[test]
fn a_packet_that_waits_does_not_wake_what_was_put_to_sleep_after_it() {
    let mut pair =
        Pair::suspended(|scene| scene.client.resumption.trigger = ResumeTrigger::OnTraffic);
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).offline = true;
    assert_eq!(pair.outgoing(), Outgoing::Held);
    pair.world.run_for(SECOND);
    assert_eq!(pair.status().stage, Stage::Connecting);
    while pair.status().stage == Stage::Connecting {
        pair.world.run_for(SECOND);
    }
    assert_eq!(pair.suspend(), Ok(()));
    pair.forget_past();
    pair.world.run_for(600 * SECOND);
    assert!(pair.world.trace.is_empty(), "nothing is attempted");

    pair.world.node_mut(gateway).offline = false;
    assert_eq!(pair.outgoing(), Outgoing::Held);
    pair.world.run_for(SECOND);
    pair.assert_up_by(How::Resumed);
}

#[test]
fn an_armed_connection_comes_up_by_traffic() {
    let mut pair = Pair::new(sim::Scene::default());
    assert_eq!(pair.outgoing(), Outgoing::Clear);
    let name = pair.name();
    pair.client_endpoint().arm(&name);
    pair.settle();
    pair.world.drive();
    assert_eq!(pair.outgoing(), Outgoing::Held);
    pair.world.run_for(SECOND);
    pair.assert_up_by(How::Full);
    pair.down().unwrap();
    assert_eq!(pair.outgoing(), Outgoing::Held);
    pair.world.run_for(SECOND);
    pair.assert_up_by(How::Full);
}

#[test]
fn down_ends_a_resumption_at_every_stage_and_the_session_with_it() {
    for steps in 0..6 {
        let mut pair = Pair::suspended(|_| {});
        let resume = pair.begin(Command::Resume(pair.name()));
        for _ in 0..steps {
            pair.world.step();
        }
        let was_up = pair.world.node(pair.client).replies.contains_key(&resume);
        assert_eq!(pair.down(), Ok(()));
        if !was_up {
            assert_eq!(pair.finish(resume), Err(Refusal::Failed(Failure::Ended)));
        }
        pair.world.run_for(60 * SECOND);
        // The SA from before the suspend is left at the gateway if the ticket
        // was never used.
        assert_eq!(pair.status().stage, Stage::Down);
        assert!(pair.served().len() <= 1);
        assert_eq!(pair.resume(), Err(Refusal::NotSuspended), "after {steps} steps");
        pair.up().unwrap();
        pair.assert_up_by(How::Full);
    }
}

/// The two forms of AUTH, by the settings of client and gateway.
fn resumed_with(client: ResumeAuth, gateway: ResumeAuth) -> Pair {
    let mut pair = Pair::suspended(|scene| {
        scene.client.resumption.auth = client;
        scene.gateway.resumption.auth = gateway;
    });
    pair.resume().unwrap();
    pair
}

#[test]
fn both_forms_of_auth_resume_where_both_sides_use_them() {
    for form in [ResumeAuth::Auto, ResumeAuth::Rfc5723, ResumeAuth::Libreswan] {
        let mut pair = resumed_with(form, form);
        pair.assert_up_by(How::Resumed);
        let mut pair = resumed_with(form, ResumeAuth::Auto);
        pair.assert_up_by(How::Resumed);
        assert_eq!(pair.set_up().round_trips, 2);
    }
}

#[test]
fn a_gateway_with_the_other_form_gets_it_with_the_same_ticket_and_it_is_remembered() {
    let mut pair = resumed_with(ResumeAuth::Auto, ResumeAuth::Libreswan);
    pair.assert_up_by(How::Resumed);
    assert_eq!(pair.set_up().round_trips, 4);
    assert_eq!(fell_back(&pair), []);
    pair.suspend().unwrap();
    pair.forget_past();
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
    assert_eq!(pair.set_up().round_trips, 2);
    assert_eq!(pair.exchanges().len(), 4);
}

#[test]
fn forms_that_never_meet_lead_to_a_full_exchange() {
    for (client, gateway) in
        [(ResumeAuth::Rfc5723, ResumeAuth::Libreswan), (ResumeAuth::Libreswan, ResumeAuth::Rfc5723)]
    {
        let mut pair = resumed_with(client, gateway);
        pair.assert_up_by(How::Full);
        assert_eq!(fell_back(&pair), [FallBack::AuthenticationFailed]);
        assert_eq!(session_ends(&pair), [SessionEnd::Refused]);
    }
}

#[test]
fn a_resumed_child_that_the_gateway_refuses_uses_the_ticket_up() {
    let mut pair = Pair::suspended(|_| {});
    let gateway = pair.gateway;
    let fault = esp::plane::Fault::Full;
    pair.world.node_mut(gateway).plane.faults.push_back(fault);
    let failure = Failure::Notify(ike::wire::NotifyType::NO_ADDITIONAL_SAS.0);
    assert_eq!(pair.resume(), Err(Refusal::Failed(failure)));
    assert_eq!(session_ends(&pair), [SessionEnd::Refused]);
    pair.world.run_for(60 * SECOND);
    pair.assert_empty();
    pair.up().unwrap();
    pair.assert_up_by(How::Full);
}
