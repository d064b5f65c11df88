"""A stock Firefox, driven by WebDriver BiDi: the protocol that it speaks itself, with no driver
between. Playwright's Firefox is one of its own making, which no distribution packages."""

import json
import re
import subprocess
import time
from pathlib import Path

import websocket

# No other host can be reached: what asks for one is seen, and fails at once.
PREFERENCES = {
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.enabled": False,
}


class Firefox:
    """One window: where it goes, what its scripts say, what a page asked for and complained of."""

    def __init__(self, executable: str, profile: Path):
        lines = (f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in PREFERENCES.items())
        profile.mkdir(parents=True)
        (profile / "user.js").write_text("\n".join(lines))
        command = [executable, "--headless", "--no-remote", "--profile", str(profile)]
        log = profile / "log"
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [*command, "--remote-debugging-port", "0"], stdout=file, stderr=file
            )
        try:
            self._socket = websocket.create_connection(
                f"{_address(log)}/session", suppress_origin=True, timeout=120
            )
            self._count, self.asked, self.trouble = 0, [], []
            self.send("session.new", capabilities={})
            events = ["network.beforeRequestSent", "log.entryAdded"]
            self.send("session.subscribe", events=events)
            self._context = self.send("browsingContext.getTree")["contexts"][0]["context"]
        except BaseException:
            self._process.kill()
            raise

    def send(self, method, **parameters):
        """A command's result; events that come before it are kept."""
        self._count += 1
        command = {"id": self._count, "method": method, "params": parameters}
        self._socket.send(json.dumps(command))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._count:
                if message["type"] == "error":
                    raise RuntimeError(f"{method}: {message['message']}")
                return message["result"]
            self._keep(message)

    def _keep(self, message):
        said = message.get("params", {})
        if message.get("method") == "network.beforeRequestSent":
            self.asked.append(said["request"]["url"])
        elif message.get("method") == "log.entryAdded" and said["level"] == "error":
            self.trouble.append(said["text"])

    def resize(self, width, height=900):
        size = {"width": width, "height": height}
        self.send("browsingContext.setViewport", context=self._context, viewport=size)

    def go(self, url):
        # From an empty page: what the last one leaves unfinished is not the next one's trouble.
        for address in ("about:blank", url):
            self.asked, self.trouble = [], []
            self.send(
                "browsingContext.navigate", context=self._context, url=address, wait="complete"
            )

    def evaluate(self, expression):
        """What an expression is, or what its promise becomes, by way of JSON."""
        result = self.send(
            "script.evaluate",
            expression=f"Promise.resolve({expression}).then(JSON.stringify)",
            target={"context": self._context},
            awaitPromise=True,
        )
        if result["type"] == "exception":
            raise RuntimeError(result["exceptionDetails"]["text"])
        return json.loads(result["result"].get("value", "null"))

    def wait_for(self, expression, seconds=30):
        end = time.monotonic() + seconds
        while not self.evaluate(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"never true: {expression}")
            time.sleep(0.05)

    def give_files(self, selector, *paths):
        """As a reader does who chooses files."""
        locator = {"type": "css", "value": selector}
        found = self.send("browsingContext.locateNodes", context=self._context, locator=locator)
        element = {"sharedId": found["nodes"][0]["sharedId"]}
        files = [str(path) for path in paths]
        self.send("input.setFiles", context=self._context, element=element, files=files)

    def close(self):
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()


def _address(log: Path) -> str:
    for _ in range(600):
        if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise TimeoutError(f"Firefox said nothing of where it listens: {log.read_text()[-500:]}")
