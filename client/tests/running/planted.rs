//! For the doctor's tests: a server that is well, `echomesh doctor` run against it, and what it said; and the means to
//! plant faults: a forwarder, with bad UDP or none, a server whose certificate has expired, a sound server.

use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::running::{Running, await_line, server_program};

/// A home, and a server that is well.
pub struct Clinic {
    home: tempfile::TempDir,
    _server: Running,
    pub port: u16,
    voice_port: u16,
    pub fingerprint: String,
}

impl Clinic {
    pub fn open() -> Self {
        Self::open_with(&[])
    }

    /// With these options of the server's; without any, ann has an account.
    pub fn open_with(options: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut server = Command::new(server_program())
            .args(["--address", "127.0.0.1", "--port", "0", "--shards", "1", "--log", "warn"])
            .args(["--password-memory-kib", "8", "--password-passes", "1", "--data-dir"])
            .arg(home.path().join("data"))
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .map(Running)
            .unwrap();
        let mut lines = BufReader::new(server.0.stdout.take().unwrap());
        let line = await_line(&mut lines, "SHA256:");
        let from = line.find("SHA256:").unwrap();
        let fingerprint: String = line[from..].chars().take("SHA256:".len() + 64).collect();
        let line = await_line(&mut lines, "listening on 127.0.0.1:");
        let mut ports = line.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
        // After the address: the control port, and voice's.
        let (port, voice_port) = (ports.nth(4).unwrap(), ports.next().unwrap());
        let clinic = Self { home, _server: server, port, voice_port, fingerprint };
        if options.is_empty() {
            let made = clinic.client(&["whoami"]).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        clinic
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// `echomesh` of ann, who was told the fingerprint.
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = self.stranger(arguments);
        command.env("ECHOMESH_FINGERPRINT", &self.fingerprint);
        command
    }

    /// Likewise, of one who was not.
    pub fn stranger(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_echomesh"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home())
            .env("ECHOMESH_SERVER", format!("127.0.0.1:{}", self.port))
            .env("ECHOMESH_USER", "ann")
            .env("ECHOMESH_PASSWORD", "a long secret")
            .stdin(Stdio::null());
        if arguments.first() == Some(&"doctor") {
            command.arg("--json");
        }
        command
    }

    /// `echomesh doctor --json` with options for all commands.
    pub fn command(&self, options: &[&str]) -> Command {
        let mut command = self.stranger(&["doctor"]);
        command.args(options).env("ECHOMESH_FINGERPRINT", &self.fingerprint);
        command
    }

    pub fn doctor(&self, own: &[&str]) -> Seen {
        self.doctor_with(&[], own)
    }

    pub fn doctor_with(&self, options: &[&str], own: &[&str]) -> Seen {
        Seen::of(self.command(options).args(own))
    }

    /// UDP from this address of the machine to the server's voice port: only of the client port that came first, as a
    /// firewall does that knows it, and only those datagrams that `passes` lets, by their number. Ends with the test.
    pub fn forward_voice(&self, from: &str, passes: fn(u64) -> bool) {
        let outside = UdpSocket::bind((from, self.voice_port)).unwrap();
        let inside = UdpSocket::bind("127.0.0.1:0").unwrap();
        inside.connect(("127.0.0.1", self.voice_port)).unwrap();
        let (back, answers) = (outside.try_clone().unwrap(), inside.try_clone().unwrap());
        let mut datagram = [0; 2_048];
        std::thread::spawn(move || {
            let mut first: Option<SocketAddr> = None;
            for number in 0.. {
                let Ok((count, client)) = outside.recv_from(&mut datagram) else { return };
                if first.is_none() {
                    first = Some(client);
                    let answers = answers.try_clone().unwrap();
                    let back = back.try_clone().unwrap();
                    std::thread::spawn(move || {
                        let mut answer = [0; 2_048];
                        while let Ok(count) = answers.recv(&mut answer) {
                            back.send_to(&answer[..count], client).unwrap();
                        }
                    });
                }
                if first == Some(client) && passes(number) {
                    inside.send(&datagram[..count]).unwrap();
                }
            }
        });
    }

    /// TCP from this address of the machine to the server, and no UDP. Ends with the test.
    pub fn forwarded(&self, from: &str) -> String {
        let listener = TcpListener::bind((from, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let port = self.port;
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                for (mut source, mut target) in
                    [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    std::thread::spawn(move || {
                        // One that ends in the middle has ended.
                        let _ = std::io::copy(&mut source, &mut target);
                        let _ = target.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        address
    }
}

/// What the doctor said.
pub struct Seen {
    pub all: String,
    pub code: i32,
}

impl Seen {
    pub fn of(command: &mut Command) -> Self {
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let more = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { all: told + &more, code: output.status.code().unwrap() }
    }

    /// The field of the gravest finding of a check; empty if there is none.
    fn field(&self, check: &str, field: &str) -> String {
        let lines = self.all.lines().filter(|line| line.starts_with(&format!(r#"{{"check":"{check}","#)));
        let graveness = |line: &&str| {
            ["skipped", "ok", "warning", "fault"].iter().position(|it| line.contains(&format!(r#""result":"{it}""#)))
        };
        let Some(line) = lines.max_by_key(graveness) else { return String::new() };
        let begin = format!(r#""{field}":""#);
        let Some(at) = line.find(&begin) else { return String::new() };
        let rest = line[at + begin.len()..].replace("\\\"", "'");
        rest.split('"').next().unwrap().to_owned()
    }

    pub fn result(&self, check: &str) -> String {
        self.field(check, "result")
    }

    pub fn found(&self, check: &str) -> String {
        self.field(check, "found")
    }

    pub fn remedy(&self, check: &str) -> String {
        self.field(check, "remedy")
    }

    pub fn faults(&self) -> Vec<String> {
        self.all.lines().filter(|line| line.contains(r#""result":"fault""#)).map(str::to_owned).collect()
    }

    /// It found this fault, says so in these words and what to do in those, and ended with this code.
    pub fn names(&self, check: &str, found: &str, remedy: &str, code: i32) {
        let what = (self.result(check), self.found(check).contains(found), self.remedy(check).contains(remedy));
        assert_eq!((what, self.code), (("fault".to_owned(), true, true), code), "{check}: {}", self.all);
        assert!(!self.field(check, "means").is_empty(), "{check}: {}", self.all);
    }
}

/// A server whose certificate an authority made that the system trusts, and that has expired; and the authority's file.
/// It shakes hands and nothing more, until the test ends.
pub fn certified_server(home: &Path) -> (String, PathBuf) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut of_authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    of_authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = of_authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(of_authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let file = home.join("authority.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (listener, config) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(config));
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let mut tls = ServerConnection::new(config.clone()).unwrap();
            // A client that does not trust it hangs up.
            let _ = tls.complete_io(&mut socket);
        }
    });
    (address, file)
}

/// A PulseAudio of its own, with a null sink `ear` whose monitor is the microphone `mic`.
pub struct Pulse {
    _daemon: Running,
    pub config: PathBuf,
    server: String,
}

/// `None` if it is not installed.
pub fn pulse(home: &Path) -> Option<Pulse> {
    let folder = home.join("pulse");
    std::fs::create_dir(&folder).unwrap();
    let native = folder.join("native");
    let script = format!(
        "load-module module-null-sink sink_name=ear rate=48000 channels=1 channel_map=mono format=s16le\n\
         load-module module-native-protocol-unix auth-anonymous=1 socket={}\n",
        native.display()
    );
    std::fs::write(folder.join("lab.pa"), script).unwrap();
    let config = folder.join("asound.conf");
    let server = format!("unix:{}", native.display());
    let pcm =
        |name: &str, device: &str| format!("pcm.{name} {{ type pulse server \"{server}\" device \"{device}\" }}\n");
    let text = format!("</usr/share/alsa/alsa.conf>\n{}{}", pcm("mic", "ear.monitor"), pcm("ear", "ear"));
    std::fs::write(&config, text).unwrap();
    let mut daemon = Command::new("pulseaudio")
        .args(["-n", "-F"])
        .arg(folder.join("lab.pa"))
        .args(["--daemonize=no", "--exit-idle-time=-1", "--disallow-exit=yes", "--use-pid-file=no"])
        .args(["--high-priority=no", "--realtime=no", "-v", "--log-target=stderr"])
        .env("HOME", &folder)
        .env("XDG_RUNTIME_DIR", &folder)
        .env("PULSE_RUNTIME_PATH", &folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .ok()
        .map(Running)?;
    let mut log = BufReader::new(daemon.0.stderr.take().unwrap());
    await_line(&mut log, "Daemon startup complete");
    // It is not to stop for a full pipe.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Some(Pulse { _daemon: daemon, config, server })
}

/// Plays until it is dropped.
pub struct Playing(Running);

impl Pulse {
    /// A square wave of full scale.
    pub fn overdrive(&self) -> Playing {
        let mut player = Command::new("pacat")
            .args(["--playback", "-d", "ear", "--format=s16le", "--rate=48000", "--channels=1", "--latency-msec=50"])
            .env("PULSE_SERVER", &self.server)
            .stdin(Stdio::piped())
            .spawn()
            .map(Running)
            .unwrap();
        let mut sound = player.0.stdin.take().unwrap();
        std::thread::spawn(move || {
            let wave = [i16::MAX; 50].into_iter().chain([i16::MIN; 50]);
            let bytes: Vec<u8> = wave.flat_map(i16::to_le_bytes).collect();
            // Until it is killed.
            while sound.write_all(&bytes).is_ok() {}
        });
        Playing(player)
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let _ = self.0.0.kill();
    }
}
