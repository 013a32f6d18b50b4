"""cluster.yaml, checked offline: by Ray's own schema, by the EC2 API's model, and by Ray's real AWS provider
against a simulated EC2."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import boto3
import botocore.session
import botocore.validate
import pytest
import yaml
from moto import mock_aws

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's autoscaler imports deprecated names
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config, validate_config

CLUSTER_YAML = Path(__file__).parents[1] / "cluster.yaml"


@pytest.fixture
def config() -> dict:
    return yaml.safe_load(CLUSTER_YAML.read_text())


def check(config: dict) -> None:
    """Raise if `ray up` would refuse the file or EC2 would refuse a node of it."""
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    run_instances = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances")
    for name, node_type in config["available_node_types"].items():
        parameters = {**node_type["node_config"], "MinCount": 1, "MaxCount": 1}
        report = botocore.validate.ParamValidator().validate(parameters, run_instances.input_shape)
        assert not report.has_errors(), f"{name}: {report.generate_report()}"


def test_ray_and_ec2_accept_the_file(config: dict) -> None:
    check(config)


def test_the_check_notices_faults(config: dict) -> None:
    misspelt = copy.deepcopy(config)
    misspelt["available_node_types"]["gpu"]["node_config"]["InstanceTyp"] = "g6e.xlarge"
    with pytest.raises(AssertionError, match="InstanceTyp"):
        check(misspelt)
    unknown = copy.deepcopy(config)
    unknown["head_node_typ"] = unknown.pop("head_node_type")
    with pytest.raises(Exception, match="head_node_typ"):
        check(unknown)


def test_what_the_file_promises(config: dict) -> None:
    head, gpu = (config["available_node_types"][name] for name in ("head", "gpu"))
    assert head["resources"] == {"CPU": 0}, "no actors on the head"
    assert "InstanceMarketOptions" not in head["node_config"], "the head is on demand"
    assert gpu["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, config["max_workers"])
    for node_type in (head, gpu):
        assert node_type["node_config"]["IamInstanceProfile"]["Name"]
        assert "ubuntu" in node_type["node_config"]["ImageId"], "Ray's default image is too old for the wheels"
    assert all("==" in line for line in config["setup_commands"] if "pip install" in line)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_nodes_come_up_on_a_simulated_ec2(config: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    region = config["provider"]["region"]
    with mock_aws():
        ec2, iam = boto3.client("ec2", region), boto3.client("iam")
        image = ec2.describe_images()["Images"][0]["ImageId"]
        for node_type in config["available_node_types"].values():
            iam.create_instance_profile(InstanceProfileName=node_type["node_config"]["IamInstanceProfile"]["Name"])
            # The simulation resolves no parameters.
            node_type["node_config"]["ImageId"] = image
        ready = bootstrap_aws(AWSNodeProvider.fillout_available_node_types_resources(prepare_config(config)))
        gpu = ready["available_node_types"]["gpu"]
        assert gpu["resources"]["GPU"] == 1, "Ray sees the GPU of the instance type"
        provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
        provider.create_node(gpu["node_config"], {"ray-node-name": "worker"}, 1)
        (reservation,) = ec2.describe_instances()["Reservations"]
        (instance,) = reservation["Instances"]
        assert instance["InstanceLifecycle"] == "spot"
        assert instance["InstanceType"] == gpu["node_config"]["InstanceType"]
