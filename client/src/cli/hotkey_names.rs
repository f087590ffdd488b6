//! The name of a hotkey, as linux/input-event-codes.h has it without `KEY_`, and its number there.
//!
//! In: `f9`, `rightctrl`, `KEY_PAUSE`, `btn_side`. Out: the kernel's number. Not letters of a layout: `y` is the key right
//! of `t`, whatever is printed on it.

use std::str::FromStr;

use serde::Deserialize;

/// Keys by number, from 1 on; `-`: none has it.
const KEYS: &str = "esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace tab q w e r t y u i o p leftbrace rightbrace enter leftctrl \
    a s d f g h j k l semicolon apostrophe grave leftshift backslash z x c v b n m comma dot slash rightshift \
    kpasterisk leftalt space capslock f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 numlock scrolllock kp7 kp8 kp9 kpminus \
    kp4 kp5 kp6 kpplus kp1 kp2 kp3 kp0 kpdot - zenkakuhankaku 102nd f11 f12 ro katakana hiragana henkan \
    katakanahiragana muhenkan kpjpcomma kpenter rightctrl kpslash sysrq rightalt linefeed home up pageup left \
    right end down pagedown insert delete macro mute volumedown volumeup power kpequal kpplusminus pause scale \
    kpcomma hangeul hanja yen leftmeta rightmeta compose stop again props undo front copy open paste find cut \
    help menu calc setup sleep wakeup file sendfile deletefile xfer prog1 prog2 www msdos coffee \
    rotate_display cyclewindows mail bookmarks computer back forward closecd ejectcd ejectclosecd nextsong \
    playpause previoussong stopcd record rewind phone iso config homepage refresh exit move edit scrollup \
    scrolldown kpleftparen kprightparen new redo f13 f14 f15 f16 f17 f18 f19 f20 f21 f22 f23 f24 - - - - - \
    playcd pausecd prog3 prog4 all_applications suspend close play fastforward bassboost print hp camera sound \
    question email chat search connect finance sport shop alterase cancel brightnessdown brightnessup media \
    switchvideomode kbdillumtoggle kbdillumdown kbdillumup send reply forwardmail save documents battery \
    bluetooth wlan uwb unknown video_next video_prev brightness_cycle brightness_auto display_off wwan rfkill \
    micmute";

/// Buttons of a mouse, from `BUTTON` on.
const BUTTONS: &str = "btn_left btn_right btn_middle btn_side btn_extra btn_forward btn_back btn_task";
const BUTTON: u16 = 0x110;

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Hotkey {
    code: u16,
    name: String,
}

impl Hotkey {
    /// The kernel's number.
    pub fn code(&self) -> u16 {
        self.code
    }
}

impl std::fmt::Display for Hotkey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for Hotkey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_lowercase();
        let name = lower.strip_prefix("key_").unwrap_or(&lower);
        let keys = (1..).zip(KEYS.split(' '));
        let buttons = (BUTTON..).zip(BUTTONS.split(' '));
        let found = keys.chain(buttons).find(|(_, known)| *known == name && name != "-");
        found.map(|(code, _)| Self { code, name: name.to_owned() }).ok_or_else(|| {
            format!(
                "{text:?} is no key: give a name of linux/input-event-codes.h without KEY_, such as f9, rightctrl, \
                 pause, scrolllock, or btn_side of a mouse"
            )
        })
    }
}

impl TryFrom<String> for Hotkey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: names are those of the kernel's header, with its numbers; a mistake is told with examples.
    #[test]
    fn keys_have_the_kernels_numbers() {
        let known = [
            ("esc", 1),
            ("1", 2),
            ("f1", 59),
            ("KEY_F9", 67),
            ("F11", 87),
            ("rightctrl", 97),
            ("scrolllock", 70),
            ("pause", 119),
            ("leftmeta", 125),
            ("f13", 183),
            ("f24", 194),
            ("playcd", 200),
            ("micmute", 248),
            ("btn_side", 0x113),
            ("btn_task", 0x117),
        ];
        for (name, code) in known {
            assert_eq!(name.parse::<Hotkey>().map(|key| key.code()), Ok(code), "{name}");
        }
        for wrong in ["", "-", "f25", "ctrl-n", "f9 "] {
            assert!(wrong.parse::<Hotkey>().is_err_and(|text| text.contains("such as f9")), "{wrong}");
        }
    }
}
