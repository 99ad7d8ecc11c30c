"""A program of a lab that does as its request says, and names no encoding anywhere."""
import json, os, pathlib, sys, time

here = pathlib.Path(__file__).resolve().parent
request = json.load(open(sys.argv[1]))
wishes = request["input"]
runs = os.open(str(here / "runs"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(runs, (request["uuid"] + "\n").encode())
print(wishes.get("prints", "progress 40 試料を読んでいます"))
while "gate" in wishes and not (here / wishes["gate"]).exists():
    time.sleep(0.01)
response = open(sys.argv[2], "w") if wishes["does"] != "nothing" else None
if wishes["does"] == "answer":
    json.dump({"uuid": request["uuid"], "said": wishes.get("says")}, response, ensure_ascii=False)
elif wishes["does"] == "nan":
    json.dump({"soc_percent": float("nan")}, response)
elif wishes["does"] == "half":
    response.write('{"half": ')
elif wishes["does"] == "csv":
    response.write("time_s,soc_percent\n0,80.0\n")
elif wishes["does"] == "raise":
    raise RuntimeError(wishes["says"])
elif wishes["does"] == "exit":
    os._exit(3)
