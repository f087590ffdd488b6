"""Drives Chromium through the admin page by WebDriver's own HTTP, with the standard library alone.

Called by scripts/dashboard-test: DRIVER_URL PAGE_URL FOLDER_FOR_PICTURES WORK_FOLDER.
Source: https://www.w3.org/TR/webdriver2/ and the DevTools protocol's Emulation domain.
"""

import base64
import json
import os
import pathlib
import sys
import time
import urllib.request

DRIVER, PAGE, KEPT, WORK = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
PATIENCE = 25
# Before the pictures, seconds: the curves show a minute.
LOOK = float(os.environ.get("LOOK", "5"))
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", f"--user-data-dir={WORK}/profile",
]


def call(method, path, body=None):
    """One command; its value."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(DRIVER + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{path}: {json.load(error)['value']['message'].splitlines()[0]}") from None


def fail(sentence):
    sys.exit(f"dashboard-test: {sentence}")


class Browser:
    def __init__(self):
        options = {"args": ARGUMENTS, "binary": "/usr/bin/chromium"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.path = f"/session/{made['sessionId']}"
        self.console = []

    def open(self, url):
        call("POST", f"{self.path}/url", {"url": url})

    def run(self, script, *arguments):
        return call("POST", f"{self.path}/execute/sync", {"script": script, "args": list(arguments)})

    def devtools(self, command, **parameters):
        return call("POST", f"{self.path}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def find(self, css):
        return call("POST", f"{self.path}/element", {"using": "css selector", "value": css})[ELEMENT]

    def click(self, css):
        call("POST", f"{self.path}/element/{self.find(css)}/click", {})

    def type(self, css, text):
        element = self.find(css)
        call("POST", f"{self.path}/element/{element}/clear", {})
        call("POST", f"{self.path}/element/{element}/value", {"text": text})

    def wait(self, what, script, *arguments, patience=PATIENCE):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if found := self.run(script, *arguments):
                return found
            time.sleep(0.1)
        self.picture("failed")
        fail(f"{what} did not happen in {patience} s; see {KEPT}/failed.png")

    def text(self, css):
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", css)

    def picture(self, name, whole=False):
        shown = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        (KEPT / f"{name}.png").write_bytes(base64.b64decode(shown["data"]))

    def read_console(self):
        self.console += call("POST", f"{self.path}/se/log", {"type": "browser"})

    def look(self, width, height, scheme, scale=1):
        """A screen of this size and colour scheme."""
        mobile = width < 500
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile)
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def close(self):
        call("DELETE", self.path)


def log_in(browser, name, password):
    browser.type("#name", name)
    browser.type("#password", password)
    browser.click("#login-button")


PERSON = """
const room = [...document.querySelectorAll('.room')].find((room) => room.querySelector('h3').innerText === arguments[0]);
const person = [...(room?.querySelectorAll('.person') ?? [])].find((one) => one.querySelector('.name').innerText === arguments[1]);
"""

# Text that is too faint against what is behind it: WCAG 2.2, 1.4.3.
FAINT = """
const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const colour = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const [r, g, b, a] = colour(getComputedStyle(at).backgroundColor);
    if (a > 0.99) return [r, g, b];
  }
  return [255, 255, 255];
};
const faint = [];
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility() || element.closest('.hidden-text, noscript') || element.matches(':disabled')) continue;
  const [front, back] = [light(colour(getComputedStyle(element).color)), light(behind(element))];
  const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  if (contrast < 4.5) faint.push(`${element.tagName}.${element.className} ${element.innerText.slice(0, 20)}: ${contrast.toFixed(2)}`);
}
return faint;
"""

NAMELESS = """
const named = (element) => element.innerText?.trim() || element.getAttribute('aria-label') || element.labels?.length;
return [...document.querySelectorAll('button, input, select, meter')].filter((one) => one.checkVisibility() && !named(one)).map((one) => one.outerHTML);
"""


def check_looks(browser, name, width, height, scheme, scale=1):
    browser.look(width, height, scheme, scale)
    time.sleep(0.3)
    if overflow := browser.run("return document.documentElement.scrollWidth - innerWidth") or 0:
        if overflow > 0:
            browser.picture("failed", whole=True)
            fail(f"{name}: the page is {overflow} pixels wider than the screen")
    if faint := browser.run(FAINT):
        fail(f"{name}: too little contrast: {faint[:5]}")
    if nameless := browser.run(NAMELESS):
        fail(f"{name}: controls without a name: {nameless[:5]}")
    browser.picture(name, whole=width < 500)


def without_login(browser):
    browser.open(PAGE)
    browser.wait("the login form", "return document.querySelector('#login-form')?.checkVisibility()")
    shown = browser.run("return document.body.innerText")
    if "Harbour" in shown or "Bridge" in shown:
        fail(f"without a login the page says: {shown}")
    check_looks(browser, "login", 1280, 800, "light")
    log_in(browser, "olga", "wrong")
    browser.wait("the refusal", "return document.querySelector('#login-message').innerText.includes('wrong name or password')")
    log_in(browser, "mia", "secret of mia")
    browser.wait("the refusal of a member", "return document.querySelector('#login-message').innerText.includes('only admins')")


def speaking(browser):
    log_in(browser, "olga", "secret of olga")
    browser.wait("Ada speaking", PERSON + "return person?.classList.contains('talking') && person.innerText.includes('speaking')", "Bridge", "ada")
    browser.wait("Kim speaking", PERSON + "return person?.classList.contains('talking')", "Engine room", "kim")
    if browser.run(PERSON + "return person.classList.contains('talking')", "Bridge", "bob"):
        fail("Bob says nothing and is shown as speaking")
    browser.wait("losses", PERSON + "return person.innerText.includes('loss')", "Bridge", "ada")
    browser.wait("round trips", PERSON + "return /round\\strip\\s[0-9.]+\\sms/.test(person.innerText)", "Bridge", "bob")
    rates = "return [...document.querySelectorAll('#shards td[data-label=\"Packets out\"]')].some((cell) => parseFloat(cell.innerText) > 20)"
    browser.wait("packets a second", rates)


def looks(browser):
    # A while of it, for the curves.
    time.sleep(LOOK)
    for scheme in ("light", "dark"):
        check_looks(browser, f"wide-{scheme}", 1280, 860, scheme)
        check_looks(browser, f"phone-{scheme}", 360, 780, scheme, 2)
    check_looks(browser, "huge-light", 1920, 1080, "light")
    browser.look(1280, 860, "light")


def markup(browser):
    (WORK / "looked").touch()
    browser.wait("the markup as a name", "return [...document.querySelectorAll('h3')].some((one) => one.innerText.includes('onerror=alert'))")
    if browser.run("return document.querySelectorAll('#rooms img, #sessions img').length"):
        fail("a room's name became markup")


def act_on(browser, room, name, button):
    browser.run(PERSON + "person.querySelector('.more').click()", room, name)
    browser.wait("the dialog", "return document.querySelector('#act').open")
    browser.type("#reason", "a test")
    if button == "#act-kick-room":
        for scheme, width in (("light", 1280), ("dark", 360)):
            check_looks(browser, f"act-{scheme}", width, 800, scheme)
        browser.look(1280, 860, "light")
    browser.click(button)
    browser.wait("the end of the dialog", "return !document.querySelector('#act').open")


def acts(browser):
    act_on(browser, "Bridge", "ada", "#act-mute")
    muted = "return person.innerText.includes('muted by a moderator') && !person.classList.contains('talking')"
    browser.wait("Ada's mute", PERSON + muted, "Bridge", "ada")
    act_on(browser, "Bridge", "bob", "#act-kick-room")
    browser.wait("Bob's absence", PERSON + "return room && !person", "Bridge", "bob")
    browser.type("#filter", "KIM")
    browser.wait("the filter", "return document.querySelectorAll('.room').length === 1 && document.querySelectorAll('#sessions tbody tr').length === 1")
    browser.run("const filter = document.querySelector('#filter'); filter.value = ''; filter.dispatchEvent(new Event('input'))")
    browser.wait("the log", "return document.querySelector('#log').innerText.includes('logged in to the admin page')")


def sessions(browser):
    cookies = call("GET", f"{browser.path}/cookie")
    cookie = next(cookie for cookie in cookies if cookie["name"] == "echomesh-admin")
    if not cookie["httpOnly"] or cookie["sameSite"] != "Strict" or cookie["path"] != "/":
        fail(f"the cookie is too open: {cookie}")
    call("POST", f"{browser.path}/refresh", {})
    browser.wait("the page after a reload", "return document.querySelector('#server-name')?.innerText === 'Harbour Radio'")
    status = "return fetch('/api/state').then((answer) => answer.status)"
    if (answer := browser.run(status)) != 401:
        fail(f"the cookie alone gets {answer}")
    browser.click("#logout-button")
    browser.wait("the login form again", "return document.querySelector('#login-form').checkVisibility()")
    if "Harbour" in browser.run("return document.body.innerText"):
        fail("the page shows something after the logout")


def stop(browser):
    log_in(browser, "olga", "secret of olga")
    browser.wait("the button to stop", "return document.querySelector('#stop-button')?.checkVisibility()")
    browser.click("#stop-button")
    browser.wait("the question", "return document.querySelector('#stop').open")
    check_looks(browser, "stop", 1280, 800, "light")
    browser.click("#stop-confirm")
    browser.wait("the end", "return ['stopping', 'not connected'].includes(document.querySelector('#condition').innerText) || document.querySelector('#login').checkVisibility()")


def check_console(browser):
    browser.read_console()
    for entry in browser.console:
        # Answers that this test provokes.
        expected = "/api/login" in entry["message"] or "/api/state" in entry["message"] or "ERR_CONNECTION" in entry["message"]
        if entry["level"] == "SEVERE" and not (entry["source"] == "network" and expected):
            fail(f"on the console: {entry['message']}")


def main():
    browser = Browser()
    try:
        for part in (without_login, speaking, looks, markup, acts, sessions, stop, check_console):
            part(browser)
            print(f"dashboard-test: {part.__name__.replace('_', ' ')}: ok", flush=True)
    finally:
        browser.close()


main()
