"""The client of InfluxDB 3 (influxdb3-python), which writes to /api/v2/write by default."""

import pandas
from influxdb_client_3 import InfluxDBClient3, Point, WriteOptions, write_client_options

from plant import FIELDS, PARTIAL, TOKEN, URL, readings, run, time_of, ts_ms


def client(token=TOKEN, **options):
    return InfluxDBClient3(host=URL, token=token, database="any", **options)


def write():
    wrote = []
    with client() as influx:
        assert influx.get_server_version(), "no version"
        point = Point("inverter").tag("device", "v3-point").tag("rack", "north 3").time(time_of(0))
        for name, value in FIELDS.items():
            point.field(name, value)
        influx.write(point)
        wrote += readings("v3-point", 0)

        line = f"v3-line ac_power=1.5,dc_power=3i {ts_ms(1)}"
        influx.write(line, write_precision="ms")
        wrote += readings("v3-line", 1, {"ac_power": 1.5, "dc_power": 3.0})

        frame = pandas.DataFrame({"device": "v3-frame", "ac_power": [1.5, 2.5]},
                                 index=[time_of(0), time_of(1)])
        influx.write(frame, data_frame_measurement_name="inverter",
                     data_frame_tag_columns=["device"])
        for minute, power in [(0, 1.5), (1, 2.5)]:
            wrote += readings("v3-frame", minute, {"ac_power": power})

    failed = []
    batches = write_client_options(
        write_options=WriteOptions(batch_size=500),
        error_callback=lambda _, __, error: failed.append(str(error)),
    )
    with client(enable_gzip=True, auth_scheme="Bearer", write_client_options=batches) as influx:
        for minute in range(1440):
            influx.write(f"inverter,device=v3-batch ac_power={minute}.25 {ts_ms(minute)}000000")
            wrote += readings("v3-batch", minute, {"ac_power": minute + 0.25})
    assert not failed, failed
    return wrote


def partial():
    with client() as influx:
        influx.write(PARTIAL)


def unauthorized():
    with client(token="wrong") as influx:
        influx.write(PARTIAL[0])


run(write, partial, unauthorized)
