//! How the listening socket gets out of the box.
//!
//! The host makes a pair of sockets: one end goes to our code in the box, one to the process outside.
//! Before the job begins, our code in the box opens a listener and the namespace's counters, sends
//! them over, and waits until they have arrived. The job inherits none of these descriptors.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::ADDRESS;

/// How long either end waits for the other.
const PATIENCE: Duration = Duration::from_secs(20);
/// The answer once everything has arrived.
const ARRIVED: u8 = b'+';

/// What comes out of a box.
#[derive(Debug)]
pub(super) struct BoxHandles {
    pub(super) listener: TcpListener,
    /// The namespace's counters: `/proc/net/snmp` of the box.
    pub(super) snmp: File,
    /// The counters of IPv6, `/proc/net/snmp6`, if the kernel has IPv6.
    pub(super) snmp6: Option<File>,
}

/// In the box: opens the listener and the counters, sends them out through `door`, and returns when
/// they have arrived.
pub(crate) fn open(door: OwnedFd) -> Result<(), String> {
    let told = |what: &'static str| {
        move |error: io::Error| format!("cannot open the box's way to the network: {what}: {error}")
    };
    let listener =
        TcpListener::bind(ADDRESS).map_err(told("nothing can listen on its loopback"))?;
    let counters = |name: &str| File::open(format!("/proc/self/net/{name}"));
    let snmp = counters("snmp").map_err(told("its counters cannot be read"))?;
    let snmp6 = counters("snmp6").ok();
    let mut door = UnixStream::from(door);
    send(&door, listener, snmp, snmp6).map_err(told("its sockets cannot be handed out"))?;
    let mut answer = [0];
    door.set_read_timeout(Some(PATIENCE))
        .and_then(|()| door.read_exact(&mut answer))
        .map_err(told("the process that connects for it does not answer"))?;
    if answer[0] == ARRIVED {
        Ok(())
    } else {
        Err("cannot open the box's way to the network: the process that connects for it sent an \
             unknown answer"
            .to_owned())
    }
}

/// Outside: receives what comes through `door`; `None` if the box ended before it sent anything.
pub(super) fn take(door: OwnedFd) -> io::Result<Option<BoxHandles>> {
    let mut door = UnixStream::from(door);
    door.set_read_timeout(Some(PATIENCE))?;
    let Some(opened) = receive(&door)? else { return Ok(None) };
    door.write_all(&[ARRIVED])?;
    Ok(Some(opened))
}

fn send(
    door: &UnixStream,
    listener: TcpListener,
    snmp: File,
    snmp6: Option<File>,
) -> io::Result<()> {
    let all: Vec<OwnedFd> = [OwnedFd::from(listener), snmp.into()]
        .into_iter()
        .chain(snmp6.map(OwnedFd::from))
        .collect();
    let borrowed: Vec<_> = all.iter().map(|one| one.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::Error::other("too many descriptors"));
    }
    sendmsg(door, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    Ok(())
}

fn receive(door: &UnixStream) -> io::Result<Option<BoxHandles>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let got =
        recvmsg(door, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes == 0 {
        return Ok(None);
    }
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let mut all = rights.flatten();
    let missing = || io::Error::other("the box sent something else");
    let listener = TcpListener::from(all.next().ok_or_else(missing)?);
    let snmp = File::from(all.next().ok_or_else(missing)?);
    let snmp6 = all.next().map(File::from);
    Ok(Some(BoxHandles { listener, snmp, snmp6 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_and_a_box_that_ended_sends_nothing() {
        let (inside, outside) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let snmp = || File::open("/proc/self/net/snmp").unwrap();
        send(&inside, listener, snmp(), Some(snmp())).unwrap();
        let opened = take(outside.into()).unwrap().unwrap();
        assert_eq!(opened.listener.local_addr().unwrap(), address);
        assert!(opened.snmp6.is_some());

        let (inside, outside) = UnixStream::pair().unwrap();
        drop(inside);
        assert!(take(outside.into()).unwrap().is_none());

        let (mut inside, outside) = UnixStream::pair().unwrap();
        inside.write_all(&[0]).unwrap();
        assert!(take(outside.into()).is_err(), "a byte alone opens nothing");
    }
}
