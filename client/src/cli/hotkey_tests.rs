//! Tests of the global hotkey: named pipes in the place of the kernel's devices, which carry the very bytes of
//! `struct input_event`. What they cannot show: a real device's epoll and ENODEV; who may not read is root here.

use std::fs::File;
use std::io::Write;

use rustix::fs::{CWD, FileType, mknodat};

use super::*;

const F9: u16 = 67;

/// A kernel's folders.
struct Kernel(tempfile::TempDir);

impl Kernel {
    fn new() -> Self {
        let kernel = Self(tempfile::tempdir().unwrap());
        for folder in ["dev", "sys"] {
            std::fs::create_dir(kernel.0.path().join(folder)).unwrap();
        }
        kernel
    }

    fn folders(&self) -> Folders {
        Folders { devices: self.0.path().join("dev"), capabilities: self.0.path().join("sys") }
    }

    /// A device with these keys appears; what is written to it is what it tells.
    fn plug(&self, name: &str, bitmap: &str) -> File {
        let Folders { devices, capabilities } = self.folders();
        std::fs::create_dir_all(capabilities.join(name).join("device/capabilities")).unwrap();
        std::fs::write(capabilities.join(name).join("device/capabilities/key"), bitmap).unwrap();
        mknodat(CWD, devices.join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        File::options().read(true).write(true).open(devices.join(name)).unwrap()
    }

    fn unplug(&self, name: &str) {
        std::fs::remove_file(self.folders().devices.join(name)).unwrap();
    }
}

/// An event, as the kernel writes it.
fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
    let mut bytes = vec![0x55; 2 * LONG];
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(code.to_ne_bytes());
    bytes.extend(value.to_ne_bytes());
    bytes
}

fn key(code: u16, value: i32) -> Vec<u8> {
    [event(EV_KEY, code, value), event(EV_SYN, 0, 0)].concat()
}

/// Within ten seconds: what is told wrongly may else be waited for without end.
fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), test).await.unwrap() });
}

/// A keyboard's bitmap as sysfs prints it, with F9 in it.
const KEYBOARD: &str = "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n";

fn keyboards(kernel: &Kernel) -> Keyboards {
    Keyboards::new("f9".parse().unwrap(), kernel.folders(), Duration::from_millis(1))
}

/// Reads on until this is so; nothing is told meanwhile.
async fn until(keyboards: &mut Keyboards, is_so: impl Fn(&Keyboard) -> bool) {
    while !keyboards.keyboards.iter().any(&is_so) {
        tokio::select! {
            biased;
            event = keyboards.next() => panic!("{event:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
}

/// Goal: the one key is told when it is pressed and let go, once each; other keys, repeats and parts of an event tell
/// nothing; on two keyboards it is held as long as it is on one.
#[test]
#[cfg(target_pointer_width = "64")]
fn the_one_key_is_told() {
    block_on(async {
        let kernel = Kernel::new();
        let mut first = kernel.plug("event3", KEYBOARD);
        let mut second = kernel.plug("event12", KEYBOARD);
        let mut keyboards = keyboards(&kernel);
        first.write_all(&[key(30, 1), key(30, 0), key(F9, 1), key(F9, 2)].concat()).unwrap();
        assert_eq!(keyboards.next().await, HotkeyEvent::Pressed);
        second.write_all(&key(F9, 1)).unwrap();
        until(&mut keyboards, |keyboard| keyboard.name == "event12" && keyboard.held).await;
        // Another key's release is none of this one, and half an event is none yet.
        let release = key(F9, 0);
        first.write_all(&[key(30, 0), release[..7].to_vec()].concat()).unwrap();
        until(&mut keyboards, |keyboard| keyboard.begun == 7).await;
        first.write_all(&release[7..]).unwrap();
        // The other one holds it.
        until(&mut keyboards, |keyboard| keyboard.name == "event3" && !keyboard.held).await;
        second.write_all(&key(F9, 0)).unwrap();
        assert_eq!(keyboards.next().await, HotkeyEvent::LetGo);
        let kept: Vec<u8> = keyboards.keyboards.iter().flat_map(|keyboard| keyboard.bytes).collect();
        assert!(kept.iter().all(|byte| *byte == 0), "nothing of what was typed is kept");
    });
}

/// Goal: a keyboard that is unplugged lets go, one that is plugged in later is found, and both are told; devices without
/// the key are not opened.
#[test]
#[cfg(target_pointer_width = "64")]
fn keyboards_come_and_go() {
    block_on(async {
        let kernel = Kernel::new();
        let _mouse = kernel.plug("event0", "1f0000 0 0 0 0\n");
        let mut keyboards = keyboards(&kernel);
        let HotkeyEvent::Fails(text) = keyboards.next().await else { panic!("it is not there") };
        assert!(text.contains("the hotkey f9 waits for a keyboard"));
        assert!(keyboards.keyboards.is_empty());
        let mut keyboard = kernel.plug("event1", KEYBOARD);
        assert_eq!(keyboards.next().await, HotkeyEvent::Works("the hotkey f9 works".into()));
        keyboard.write_all(&key(F9, 1)).unwrap();
        assert_eq!(keyboards.next().await, HotkeyEvent::Pressed);
        kernel.unplug("event1");
        drop(keyboard);
        assert_eq!(keyboards.next().await, HotkeyEvent::LetGo);
        assert!(matches!(keyboards.next().await, HotkeyEvent::Fails(_)));
        let mut again = kernel.plug("event1", KEYBOARD);
        assert!(matches!(keyboards.next().await, HotkeyEvent::Works(_)));
        again.write_all(&key(F9, 1)).unwrap();
        assert_eq!(keyboards.next().await, HotkeyEvent::Pressed);
        // The kernel had no room for all: the release may be among what is lost; a repeat tells that it was not.
        again.write_all(&event(EV_SYN, SYN_DROPPED, 0)).unwrap();
        assert_eq!(keyboards.next().await, HotkeyEvent::LetGo);
        again.write_all(&key(F9, 2)).unwrap();
        assert_eq!(keyboards.next().await, HotkeyEvent::Pressed);
    });
}

/// Goal: where none may be read the sentence says why, what to do, and what that means.
#[test]
fn who_may_not_read_is_told_what_to_do() {
    block_on(async {
        let keyboards = keyboards(&Kernel::new());
        let HotkeyEvent::Fails(text) = keyboards.news(State::Denied) else { panic!("it fails") };
        for said in ["may be read", "usermod -aG input", "can read all keys", "echomesh control"] {
            assert!(text.contains(said), "{said}");
        }
    });
}

/// Goal: a bit is found in a bitmap of any length, the highest word first.
#[test]
fn bitmaps_are_read_from_the_right() {
    assert!(has_bit("1 0", 8 * LONG as u16) && !has_bit("1 0", 0) && has_bit("8", 3));
    assert!(!has_bit("", 3) && !has_bit("8", 700) && !has_bit("x", 3));
}
