"""The other end of the test provider, for a `ScriptedServer`."""

from pollux_sync.testing.server import Answer


def build_answer(text="fine"):
    return Answer(json={"answer": text})


class FileServer:
    """Answers /ask with the prompt in capitals, and keeps count of /files."""

    def __init__(self, *, delay_s=0.0):
        self.stored = []
        self.deleted = []
        self.failing_uploads = set()
        self.failing_prompts = {}
        self.delay_s = delay_s

    def __call__(self, request):
        if request.path == "/files":
            return self.store(request.json()["name"])
        if request.method == "DELETE":
            self.deleted.append(request.path.rpartition("/")[2])
            return Answer(json={})
        prompt = request.json()["prompt"] or ""
        status = self.failing_prompts.get(prompt)
        if status:
            return Answer(status=status, json={"error": {"message": f"no to {prompt}"}})
        return Answer(json={"answer": prompt.upper()}, delay_s=self.delay_s)

    def store(self, name):
        if name in self.failing_uploads:
            return Answer(status=400, json={"error": "unreadable"})
        self.stored.append(name)
        return Answer(json={"id": f"id-{name}"})
