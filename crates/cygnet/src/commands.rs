//! up, down, suspend, resume, rekey, redirect, reload.

use std::io::Write as _;

use control::{Client, ClientError, Connection};
use tokio::signal::unix::{SignalKind, signal};

use crate::Problem;
use crate::format::{plain, set_up, span, write};

pub(crate) async fn up(mut client: Client, name: &str) -> Result<(), Problem> {
    unless_interrupted(name, client.up(name)).await?;
    tell_set_up(client, name).await
}

pub(crate) async fn resume(mut client: Client, name: &str) -> Result<(), Problem> {
    unless_interrupted(name, client.resume(name)).await?;
    tell_set_up(client, name).await
}

pub(crate) async fn down(mut client: Client, name: &str) -> Result<(), Problem> {
    client.down(name).await?;
    line(format_args!("{name} is down"))
}

pub(crate) async fn suspend(mut client: Client, name: &str) -> Result<(), Problem> {
    client.suspend(name).await?;
    let ticket = entry(&mut client, name).await?.and_then(|it| it.ticket);
    match ticket {
        Some(ticket) => {
            let good = span(ticket.remaining_seconds);
            line(format_args!("{name} is suspended: it can be resumed for {good}"))
        }
        None => line(format_args!("{name} is suspended")),
    }
}

pub(crate) async fn rekey(mut client: Client, name: &str, child: bool) -> Result<(), Problem> {
    client.rekey(name, child).await?;
    line(format_args!("{name} gets new keys"))
}

pub(crate) async fn redirect(
    mut client: Client,
    name: Option<&str>,
    target: Option<&str>,
) -> Result<(), Problem> {
    let peers = client.redirect(name, target).await?;
    let Some(target) = target else {
        return line(format_args!("new clients go where the configuration says"));
    };
    let noun = if peers.told == 1 { "client was" } else { "clients were" };
    let staying = match peers.staying {
        0 => String::new(),
        count => format!("; {count} cannot be redirected and stay"),
    };
    line(format_args!("{} {noun} told to go to {target}, new ones will be{staying}", peers.told))
}

pub(crate) async fn reload(mut client: Client) -> Result<(), Problem> {
    let changes = client.reload().await?;
    line(format_args!("{changes}"))
}

/// The daemon carries on without us: a set-up belongs to it, not to a terminal.
async fn unless_interrupted(
    name: &str,
    call: impl Future<Output = Result<(), ClientError>>,
) -> Result<(), Problem> {
    // Before the call is sent: from then on an interruption must be explained.
    let mut interruption = signal(SignalKind::interrupt())?;
    tokio::select! {
        done = call => Ok(done?),
        _ = interruption.recv() => Err(Problem::Interrupted(name.to_owned())),
    }
}

async fn tell_set_up(mut client: Client, name: &str) -> Result<(), Problem> {
    let how = entry(&mut client, name).await?.and_then(|it| set_up(&it));
    match how {
        Some(how) => line(format_args!("{name} is up: {how}")),
        None => line(format_args!("{name} is up")),
    }
}

async fn entry(client: &mut Client, name: &str) -> Result<Option<Connection>, ClientError> {
    Ok(client.status(Some(name)).await?.connections.into_iter().next())
}

fn line(text: std::fmt::Arguments<'_>) -> Result<(), Problem> {
    let mut output = Vec::new();
    writeln!(output, "{}", plain(&text.to_string()))?;
    Ok(write(&output)?)
}
