"""What boto3, unpatched, gets from local AWS: prints one JSON object of what it saw."""
import json
import os
import sys
import time
import urllib.error
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

BUCKET = sys.argv[1]
NAMES = ["plain", "a b", "quote'\"", "$(x)`y`", "\u00fc\u0301\u6f22", "deep/" * 20 + "x", "+plus&amp;=%25", "{{ssm:x}}"]


def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ClientError as error:
        return "%s %d" % (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
    return None


def objects(s3):
    for name in NAMES:
        s3.put_object(Bucket=BUCKET, Key="w/" + name, Body=name.encode(), Metadata={"kept": "yes"})
        got = s3.get_object(Bucket=BUCKET, Key="w/" + name)
        assert got["Body"].read() == name.encode() and got["Metadata"] == {"kept": "yes"}, name
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="w/", PaginationConfig={"PageSize": 3})
    listed = [item["Key"][2:] for page in pages for item in page.get("Contents", [])]
    assert sorted(listed) == sorted(NAMES), listed
    folders = s3.list_objects_v2(Bucket=BUCKET, Prefix="w/", Delimiter="/")
    assert [each["Prefix"] for each in folders["CommonPrefixes"]] == ["w/deep/"], folders
    assert s3.get_object(Bucket=BUCKET, Key="w/plain", Range="bytes=1-3")["Body"].read() == b"lai"
    s3.copy_object(Bucket=BUCKET, Key="w/copy", CopySource={"Bucket": BUCKET, "Key": "w/a b"})
    assert s3.get_object(Bucket=BUCKET, Key="w/copy")["Body"].read() == b"a b"
    conditional = refused(s3.put_object, Bucket=BUCKET, Key="w/plain", Body=b"", IfNoneMatch="*")
    missing = refused(s3.get_object, Bucket=BUCKET, Key="w/none")
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        s3.put_object(Bucket=BUCKET, Key="w/plain", Body=b"checked", ChecksumAlgorithm=algorithm)
        s3.get_object(Bucket=BUCKET, Key="w/plain", ChecksumMode="ENABLED")["Body"].read()
    wrong = refused(s3.put_object, Bucket=BUCKET, Key="w/plain", Body=b"checked", ChecksumSHA256="A" * 43 + "=")
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "w/" + name} for name in NAMES + ["copy"]]})
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="w/")["KeyCount"] == 0
    return {"conditional": conditional, "missing": missing, "wrong": wrong}


def multipart(s3, directory):
    path = os.path.join(directory, "large")
    with open(path, "wb") as file:
        for number in range(20):
            file.write(bytes([number]) * (1 << 20))
    s3.upload_file(path, BUCKET, "large")
    head = s3.head_object(Bucket=BUCKET, Key="large")
    s3.download_file(BUCKET, "large", path + ".back")
    with open(path, "rb") as one, open(path + ".back", "rb") as other:
        assert one.read() == other.read()
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="aborted")["UploadId"]
    s3.upload_part(Bucket=BUCKET, Key="aborted", UploadId=upload, PartNumber=1, Body=b"x")
    parts = s3.list_parts(Bucket=BUCKET, Key="aborted", UploadId=upload)["Parts"]
    s3.abort_multipart_upload(Bucket=BUCKET, Key="aborted", UploadId=upload)
    gone = refused(s3.upload_part, Bucket=BUCKET, Key="aborted", UploadId=upload, PartNumber=2, Body=b"x")
    return {"size": head["ContentLength"], "parts": len(parts), "gone": gone}


def presigned(s3):
    s3.put_object(Bucket=BUCKET, Key="signed", Body=b"by url")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "signed"}, ExpiresIn=60)
    body = urllib.request.urlopen(url).read().decode()
    short = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "signed"}, ExpiresIn=1)
    time.sleep(2.1)
    statuses = []
    for bad in (short, url.replace("signed?", "other?")):
        try:
            statuses.append(urllib.request.urlopen(bad).status)
        except urllib.error.HTTPError as error:
            statuses.append(error.code)
    return {"body": body, "refused": statuses, "puts": presigned_puts(s3)}


def presigned_puts(s3):
    typed = {"Bucket": BUCKET, "Key": "signed-put", "ContentType": "text/plain", "Metadata": {"a": "1"}}
    url = s3.generate_presigned_url("put_object", Params=typed, ExpiresIn=60)
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="signed-part")["UploadId"]
    part = {"Bucket": BUCKET, "Key": "signed-part", "UploadId": upload, "PartNumber": 1}
    part_url = s3.generate_presigned_url("upload_part", Params=part, ExpiresIn=60)
    signed = {"Content-Type": "text/plain", "x-amz-meta-a": "1"}
    copied = dict(signed, **{"x-amz-copy-source": "/%s/signed" % BUCKET})
    statuses = []
    for to, headers in ((url, signed), (part_url, {"Content-Type": ""}), (url, copied)):
        try:
            put = urllib.request.Request(to, b"put", headers, method="PUT")
            statuses.append(urllib.request.urlopen(put).status)
        except urllib.error.HTTPError as error:
            statuses.append(error.code)
    s3.abort_multipart_upload(Bucket=BUCKET, Key="signed-part", UploadId=upload)
    return statuses


def form(s3, **conditions):
    made = s3.generate_presigned_post(BUCKET, "form/x", ExpiresIn=60, **conditions)
    boundary = "interop-boundary"
    parts = ["--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n" % (boundary, name, value) for name, value in made["fields"].items()]
    parts.append("--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nby form\r\n--%s--\r\n" % (boundary, boundary))
    asked = urllib.request.Request(
        made["url"], "".join(parts).encode(), {"Content-Type": "multipart/form-data; boundary=" + boundary}, method="POST",
    )
    try:
        return urllib.request.urlopen(asked).status
    except urllib.error.HTTPError as error:
        return error.code


def forms(s3):
    taken = form(s3)
    body = s3.get_object(Bucket=BUCKET, Key="form/x")["Body"].read().decode()
    return {"taken": taken, "body": body, "too large": form(s3, Conditions=[["content-length-range", 0, 3]])}


def commands(ec2, ssm):
    image = ssm.get_parameter(Name="/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64")["Parameter"]["Value"]
    launched = ec2.run_instances(
        ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1, IamInstanceProfile={"Name": "interop"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "interop"}]}],
    )["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[launched])
    found = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["interop"]}])["Reservations"][0]["Instances"][0]
    while not ssm.describe_instance_information(Filters=[{"Key": "InstanceIds", "Values": [launched]}])["InstanceInformationList"]:
        time.sleep(0.2)

    def run(script):
        sent = ssm.send_command(InstanceIds=[launched], DocumentName="AWS-RunShellScript", Parameters={"commands": [script]})
        while True:
            time.sleep(0.1)
            try:
                answer = ssm.get_command_invocation(CommandId=sent["Command"]["CommandId"], InstanceId=launched)
            except ssm.exceptions.InvocationDoesNotExist:
                continue
            if answer["Status"] not in ("Pending", "InProgress", "Delayed"):
                return answer

    good, bad = run("echo hello; echo warned >&2"), run("exit 3")
    ec2.terminate_instances(InstanceIds=[launched])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[launched])
    return {
        "same": found["InstanceId"] == launched, "output": good["StandardOutputContent"], "errors": good["StandardErrorContent"],
        "status": good["Status"], "failed": [bad["Status"], bad["ResponseCode"]],
        "offline": refused(ssm.send_command, InstanceIds=[launched], DocumentName="AWS-RunShellScript", Parameters={"commands": ["true"]}),
    }


def main():
    config = Config(retries={"max_attempts": 1})
    s3, ec2, ssm, sts = (boto3.client(name, config=config) for name in ("s3", "ec2", "ssm", "sts"))
    stranger = boto3.client("sts", aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x", config=config)
    forger = boto3.client("s3", aws_secret_access_key="wrong", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], config=config)
    role = sts.assume_role(RoleArn="arn:aws:iam::000000000000:role/interop", RoleSessionName="interop", DurationSeconds=900)
    given = role["Credentials"]
    assumed = boto3.client(
        "sts", aws_access_key_id=given["AccessKeyId"], aws_secret_access_key=given["SecretAccessKey"], aws_session_token=given["SessionToken"], config=config,
    )
    print(json.dumps({
        "account": sts.get_caller_identity()["Account"],
        "role": assumed.get_caller_identity()["Arn"],
        "stranger": refused(stranger.get_caller_identity),
        "forger": refused(forger.list_buckets),
        "buckets": [each["Name"] for each in s3.list_buckets()["Buckets"]],
        "objects": objects(s3),
        "multipart": multipart(s3, sys.argv[2]),
        "presigned": presigned(s3),
        "forms": forms(s3),
        "commands": commands(ec2, ssm),
    }))


main()
