"""The client of InfluxDB 1 (influxdb): the token is its password."""

from urllib.parse import urlsplit

from influxdb import InfluxDBClient

from plant import FIELDS, PARTIAL, TOKEN, URL, readings, run, time_of, ts_ms


def client(token=TOKEN, **options):
    at = urlsplit(URL)
    return InfluxDBClient(host=at.hostname, port=at.port, username="any", password=token,
                          database="any", **options)


def point(device, minute):
    return {"measurement": "inverter", "tags": {"device": device, "rack": "north 3"},
            "time": time_of(minute), "fields": FIELDS}


def write():
    wrote = []
    with client() as influx:
        assert influx.ping(), "no version"
        # A connection test of Home Assistant.
        influx.write_points([])
        influx.write_points([point("v1-points", 0), point("v1-points", 1)])
        wrote += readings("v1-points", 0) + readings("v1-points", 1)
        for precision, unit_ms in [("u", 1e-3), ("s", 1e3), ("m", 6e4)]:
            line = f"v1-{precision} ac_power=1.5,dc_power=3i {round(ts_ms(2) / unit_ms)}"
            influx.write_points([line], time_precision=precision, protocol="line")
            wrote += readings(f"v1-{precision}", 2, {"ac_power": 1.5, "dc_power": 3.0})
    with client(gzip=True) as influx:
        assert influx.ping(), "no version"
        influx.write_points([point("v1-gzip", 3)], time_precision="ms")
        wrote += readings("v1-gzip", 3)
        lines = [f"inverter,device=v1-batch ac_power={minute}.25 {ts_ms(minute)}000000"
                 for minute in range(1440)]
        influx.write_points(lines, batch_size=500, protocol="line")
        for minute in range(1440):
            wrote += readings("v1-batch", minute, {"ac_power": minute + 0.25})
    return wrote


def partial():
    with client() as influx:
        influx.write_points(PARTIAL, protocol="line")


def unauthorized():
    with client(token="wrong") as influx:
        influx.write_points(PARTIAL[:1], protocol="line")


run(write, partial, unauthorized)
