"""Routes dermoscopy from Orthanc to DermaNode: each series when Orthanc calls it stable, over one association.

Needs Orthanc's Python plugin (Debian's package orthanc-python). In Orthanc's configuration:

    "Plugins": ["/usr/share/orthanc/plugins/libOrthancPython.so"],
    "PythonScript": ".../route.py",
    "DicomModalities": {"dermanode": {"AET": "DERMANODE", "Host": "node.example.org", "Port": 11112, "AllowStorageCommitment": true}}

and in the node's an entry for Orthanc's AE title and address under `receive.allow`.

A series that could not be sent is tried again, at first after seconds and at last every five minutes. What waits is kept in Orthanc's
database, so it is sent after a restart too. Use this script or `route.lua`, not both.
"""

import heapq
import json
import threading
import time

import orthanc

NODE = "dermanode"  # its name under "DicomModalities"
NODE_AET = "DERMANODE"  # the AE title under which it sends its results here
COMMITMENT = False  # True: the node must also promise to keep what it got (storage commitment)
MOST_TRIES = 200  # at five minutes each: the better part of a day
FIRST_WAIT_S, LONGEST_WAIT_S = 2, 300
PROPERTY = 4711  # where the list of what waits is kept; Orthanc leaves the numbers from 1024 to its users

# What is routed: images of these modalities or SOP classes.
MODALITIES = {"DMS", "XC"}  # Dermoscopy; External-camera Photography
CLASSES = {
    "1.2.840.10008.5.1.4.1.1.77.1.7",  # Dermoscopic Photography Image Storage
    "1.2.840.10008.5.1.4.1.1.77.1.4",  # VL Photographic Image Storage
}


def get(path):
    return orthanc.RestApiGet(path)


def get_json(path):
    return json.loads(get(path))


def is_result(tags, instances):
    """The node's own results come back here. Sent to it again, they would go round for ever."""
    if tags.get("Manufacturer") == "DermaNode":  # so are photographs that `dermanode import` made, of another model
        model = get_json(f"/instances/{instances[0]}/simplified-tags").get("ManufacturerModelName", "")
        if model == "DermaNode":
            return True
    return any("RemoteAET" in get_json(f"/instances/{one}/metadata") and came_from_node(one) for one in instances)


def came_from_node(instance):
    return get(f"/instances/{instance}/metadata/RemoteAET").decode() == NODE_AET


def is_routed(series):
    about = get_json(f"/series/{series}")
    tags, instances = about["MainDicomTags"], about["Instances"]
    sop_class = get(f"/instances/{instances[0]}/metadata/SopClassUid").decode()
    return (tags.get("Modality") in MODALITIES or sop_class in CLASSES) and not is_result(tags, instances)


def is_gone(series):
    try:
        get(f"/series/{series}")
    except orthanc.OrthancException:
        return True
    return False


def send(series):
    """Sends a series as a job of Orthanc's and waits for its end, and for the node's promise; raises what went wrong."""
    order = {"Resources": [series], "Synchronous": False, "StorageCommitment": COMMITMENT}
    job = json.loads(orthanc.RestApiPost(f"/modalities/{NODE}/store", json.dumps(order)))["ID"]
    ended = wait_for(f"/jobs/{job}", lambda job: job["State"])
    if COMMITMENT:
        wait_for(f"/storage-commitment/{ended['Content']['StorageCommitmentTransactionUID']}", lambda asked: asked.get("Status"))


def wait_for(path, state_of):
    """What is at the path when it has succeeded."""
    deadline = time.monotonic() + LONGEST_WAIT_S
    while not stopping.wait(0.2) and time.monotonic() < deadline:
        found = get_json(path)
        if state_of(found) == "Success":
            return found
        if state_of(found) == "Failure":
            raise RuntimeError(found.get("ErrorDescription", "the node does not promise to keep it"))
    raise RuntimeError("it was not done in time")


class Waiting:
    """The series that are to be sent, with the time of the next try; kept in Orthanc's database."""

    def __init__(self):
        self.news = threading.Condition()
        self.heap = []
        self.tries = {}

    def load(self):
        for series in json.loads(orthanc.GetGlobalProperty(PROPERTY, "[]")):
            self.put(series, 0)

    def put(self, series, after_s, is_new=True):
        with self.news:
            if is_new:
                self.tries[series] = 0
            heapq.heappush(self.heap, (time.monotonic() + after_s, series))
            self.keep()
            self.news.notify()

    def next_due(self):
        """The next series whose time has come; None when Orthanc is being stopped."""
        with self.news:
            while not stopping.is_set():
                pause_s = self.heap[0][0] - time.monotonic() if self.heap else None
                if pause_s is not None and pause_s <= 0:
                    return heapq.heappop(self.heap)[1]
                self.news.wait(pause_s)
        return None

    def done(self, series):
        with self.news:
            if all(series != other for _, other in self.heap):  # it has not become stable again meanwhile
                self.tries.pop(series, None)
            self.keep()

    def keep(self):
        orthanc.SetGlobalProperty(PROPERTY, json.dumps(sorted(self.tries)))


def route():
    """The thread that sends, one series after the other."""
    while (series := waiting.next_due()) is not None:
        try:
            if is_routed(series):
                send(series)
        except Exception as error:  # noqa: BLE001  a wall: whatever goes wrong with one series, the others are to be sent
            if stopping.is_set():
                return
            if is_gone(series):
                waiting.done(series)
                continue
            tries = waiting.tries[series] = waiting.tries.get(series, 0) + 1
            if tries >= MOST_TRIES:
                orthanc.LogError(f"route.py: series {series} is given up after {tries} tries: {error}")
                waiting.done(series)
                continue
            wait_s = min(FIRST_WAIT_S * 2 ** min(tries - 1, 16), LONGEST_WAIT_S)
            orthanc.LogWarning(f"route.py: series {series} could not be sent, next try in {wait_s} s: {error}")
            waiting.put(series, wait_s, is_new=False)
        else:
            waiting.done(series)


def on_change(change, _level, resource):
    """Orthanc calls this for every change, and goes on only when it returns: so it only takes notes."""
    if change == orthanc.ChangeType.ORTHANC_STARTED:
        waiting.load()
        sender.start()
    elif change == orthanc.ChangeType.ORTHANC_STOPPED:
        stopping.set()
        with waiting.news:
            waiting.news.notify()
    elif change == orthanc.ChangeType.STABLE_SERIES:
        waiting.put(resource, 0)


stopping = threading.Event()
waiting = Waiting()
sender = threading.Thread(target=route, name="route", daemon=True)
orthanc.RegisterOnChangeCallback(on_change)
