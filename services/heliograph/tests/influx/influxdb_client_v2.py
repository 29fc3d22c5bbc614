"""The client of InfluxDB 2 (influxdb-client), used as its documentation shows."""

from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from plant import FIELDS, PARTIAL, TOKEN, URL, readings, run, time_of, ts_ms


def client(token=TOKEN, **options):
    return InfluxDBClient(url=URL, token=token, org="any", **options)


def write():
    wrote = []
    with client() as influx:
        assert influx.ping()
        assert influx.version(), "X-Influxdb-Version is missing"
        assert influx.health().status == "pass", influx.health()
        api = influx.write_api(write_options=SYNCHRONOUS)
        # A connection test of Home Assistant.
        api.write(bucket="any", record=b"")

        point = Point("inverter").tag("device", "v2-point").tag("rack", "north 3").time(time_of(0))
        for name, value in FIELDS.items():
            point.field(name, value)
        api.write(bucket="any", record=point)
        wrote += readings("v2-point", 0)

        record = {"measurement": "inverter", "tags": {"device": "v2-dict"}, "fields": FIELDS,
                  "time": time_of(1)}
        api.write(bucket="any", record=record, write_precision=WritePrecision.MS)
        wrote += readings("v2-dict", 1)

        for precision, unit_ms in [("us", 1e-3), ("s", 1e3)]:
            line = f"v2-{precision} ac_power=1.5,dc_power=3i {round(ts_ms(2) / unit_ms)}"
            api.write(bucket="any", record=line, write_precision=precision)
            wrote += readings(f"v2-{precision}", 2, {"ac_power": 1.5, "dc_power": 3.0})

        # What Home Assistant makes of an entity: its number is taken, its words are not.
        entity = {"measurement": "sensor.roof_power", "time": time_of(0),
                  "tags": {"domain": "sensor", "entity_id": "roof_power"},
                  "fields": {"value": 1234.0, "friendly_name_str": "Roof power",
                             "device_class_str": "power"}}
        try:
            api.write(bucket="any", record=entity)
            raise AssertionError("a string was taken")
        except ApiException as error:
            assert error.status == 400, error
        wrote += readings("sensor.roof_power", 0, {"value": 1234.0})

    failed = []
    with client(enable_gzip=True) as influx:
        # Batches, in the background.
        with influx.write_api(error_callback=lambda _, __, error: failed.append(str(error))) as api:
            for minute in range(1440):
                line = f"inverter,device=v2-batch ac_power={minute}.25 {ts_ms(minute)}000000"
                api.write(bucket="any", record=line)
                wrote += readings("v2-batch", minute, {"ac_power": minute + 0.25})
    assert not failed, failed
    return wrote


def partial():
    with client() as influx:
        influx.write_api(write_options=SYNCHRONOUS).write(bucket="any", record=PARTIAL)


def unauthorized():
    with client(token="wrong") as influx:
        influx.write_api(write_options=SYNCHRONOUS).write(bucket="any", record=PARTIAL[0])


run(write, partial, unauthorized)
